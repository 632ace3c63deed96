{{ config(enabled=lake_has('nyc', 'airlines')) }}

select
    carrier::varchar as carrier,
    name::varchar as airline
from {{ source('nyc', 'airlines') }}
