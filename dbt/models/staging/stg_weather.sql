{{ config(enabled=lake_has('nyc', 'weather')) }}

select
    origin::varchar as origin,
    time_hour::timestamptz as observed_hour,
    temp::double as temperature_fahrenheit,
    wind_speed::double as wind_miles_per_hour,
    precip::double as rain_inches,
    visib::double as visibility_miles
from {{ source('nyc', 'weather') }}
