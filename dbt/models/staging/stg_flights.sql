{{ config(enabled=lake_has('nyc', 'flights')) }}

select
    id::bigint as flight_id,
    created_at::timestamptz as created_at,
    updated_at::timestamptz as updated_at,
    make_date(year, month, day) as flight_date,
    time_hour::timestamptz as scheduled_hour,
    carrier::varchar as carrier,
    flight::integer as flight_number,
    tailnum::varchar as tailnum,
    origin::varchar as origin,
    dest::varchar as destination,
    distance::integer as distance_miles,
    air_time::integer as air_minutes,
    dep_delay::integer as departure_delay_minutes,
    arr_delay::integer as arrival_delay_minutes,
    dep_time is null as is_cancelled,
    _partition as lake_partition
from {{ source('nyc', 'flights') }}
