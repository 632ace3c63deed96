{{ config(enabled=lake_has('_ops', 'runs')) }}

-- A run that was killed after its commit may be added again from the log; the newest record of it counts.
select
    run::varchar as run,
    source::varchar as source,
    "table"::varchar as table_name,
    kind::varchar as kind,
    status::varchar as status,
    billable::boolean as is_billable,
    started_at::timestamptz as started_at,
    ended_at::timestamptz as ended_at,
    seconds::double as seconds,
    rows_read::bigint as rows_read,
    bytes_read::bigint as bytes_read,
    peak_memory_bytes::bigint as peak_memory_bytes,
    error_class::varchar as error_class
from {{ source('_ops', 'runs') }}
{{ newest_per_key(['run'], 'ended_at') }}
