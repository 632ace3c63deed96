{{ config(enabled=lake_has('nyc', 'airports')) }}

select
    faa::varchar as airport,
    name::varchar as airport_name,
    lat::double as latitude,
    lon::double as longitude,
    alt::integer as altitude_feet,
    tzone::varchar as time_zone
from {{ source('nyc', 'airports') }}
