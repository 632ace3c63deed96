{{ config(enabled=lake_has('nyc', 'weather')) }}

select origin, observed_hour
from {{ ref('stg_weather') }}
group by all
having count(*) > 1
