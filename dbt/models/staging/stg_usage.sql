{{ config(enabled=lake_has('_ops', 'usage')) }}

select
    day::date as day,
    source::varchar as source,
    "table"::varchar as table_name,
    kind::varchar as kind,
    billable::boolean as is_billable,
    runs::bigint as runs,
    rows_read::bigint as rows_read,
    bytes_read::bigint as bytes_read,
    bytes_written::bigint as bytes_written,
    seconds::double as seconds
from {{ source('_ops', 'usage') }}
