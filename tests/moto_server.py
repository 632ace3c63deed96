"""moto's S3 with one create at a time: by itself it looks whether a key is there and writes it then, and loses races."""

from __future__ import annotations

import threading
from typing import Any

from moto.s3.responses import S3Response
from moto.server import main

_one_at_a_time = threading.RLock()
_put_object = S3Response.put_object


def put_object(self: S3Response) -> Any:
    with _one_at_a_time:
        return _put_object(self)


if __name__ == "__main__":
    S3Response.put_object = put_object  # type: ignore[method-assign]
    main()
