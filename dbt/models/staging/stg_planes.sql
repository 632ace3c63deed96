{{ config(enabled=lake_has('nyc', 'planes')) }}

select
    tailnum::varchar as tailnum,
    year::smallint as built_in,
    manufacturer::varchar as manufacturer,
    model::varchar as model,
    engines::smallint as engines,
    seats::integer as seats
from {{ source('nyc', 'planes') }}
