{{ config(enabled=lake_has('nyc', 'flights') and lake_has('nyc', 'airlines')) }}

select
    flights.carrier,
    airlines.airline,
    date_trunc('month', flights.flight_date)::date as month,
    count(*) as flights,
    count(*) filter (where flights.is_cancelled) as cancelled,
    count(*) filter (where flights.arrival_delay_minutes <= 15) as arrived_on_time,
    round(avg(flights.departure_delay_minutes), 2) as average_departure_delay_minutes,
    round(100 * avg((flights.arrival_delay_minutes <= 15)::integer), 2) as percent_on_time
from {{ ref('stg_flights') }} as flights
left join {{ ref('stg_airlines') }} as airlines using (carrier)
group by all
