"""dagster-aws's S3 client for assets of one's own, with the endpoint, region and keys that the lake is read with."""

from __future__ import annotations

from typing import Any

from dagster_aws.s3 import S3Resource

from import_platform.s3 import S3Access


class LakeS3(S3Resource):
    """`S3Resource` that takes what its fields leave open from AWS_*, as the lake does: boto3 alone knows no AWS_REGION.

    Nothing is read before a client is asked for. What fields say wins; without keys boto3 finds a profile or role.
    """

    def get_client(self) -> Any:
        options = S3Access().settings
        given = {
            "endpoint_url": self.endpoint_url or options.get("AWS_ENDPOINT_URL"),
            "region_name": self.region_name or options["AWS_REGION"],
        }
        return S3Resource(**{**self.model_dump(), **given}).get_client()
