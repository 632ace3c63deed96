{{ config(enabled=lake_has('_ops', 'usage')) }}

select
    date_trunc('month', day)::date as month,
    source,
    table_name,
    is_billable,
    sum(runs)::bigint as runs,
    sum(rows_read)::bigint as rows_read,
    sum(bytes_read)::bigint as bytes_read,
    sum(bytes_written)::bigint as bytes_written,
    sum(seconds) as seconds
from {{ ref('stg_usage') }}
group by all
