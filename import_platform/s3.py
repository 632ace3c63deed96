"""How a bucket of S3 is reached: address, region and keys as boto3 finds them, the same for every client of ours.

obstore, deltalake and DuckDB each look for keys in an order of their own, no two alike, and none of them knows all
places. So botocore is asked (variables, profiles, roles, SSO, processes, containers, instances), and tells them all.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from obstore.exceptions import BaseError
from obstore.store import S3Store

from import_platform.errors import ConfigError, ImportPlatformError, StoreUnavailable

HELD = timedelta(minutes=6)
"""obstore asks again for keys that have five minutes left: once a minute. botocore renews those that have ten left, so
what is held is good."""

NO_BUCKET = "<Code>NoSuchBucket<"
"""By which S3 tells a bucket that is not there from an object that is not; a HEAD tells nothing."""

REMEDY = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE; log in again where the profile asks for it."
_PASSED_ON = ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "AWS_SKIP_SIGNATURE")
_FILES = {"config_file": "AWS_CONFIG_FILE", "credentials_file": "AWS_SHARED_CREDENTIALS_FILE", "profile": "AWS_PROFILE"}


@dataclass(frozen=True, repr=False)
class Keys:
    """What requests are signed with. `token` goes with keys that end by themselves."""

    access_key_id: str
    secret_access_key: str
    token: str | None = None


class S3Access:
    """Address, region and keys for one user of S3, from `env`, else from the process's variables and boto3's files.

    Making it reads files and sends nothing. `settings` are deltalake's storage options but for the keys.

    Raises:
        ConfigError: the profile that is named does not exist, or a file of profiles cannot be read.
    """

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        self._env = os.environ if env is None else env
        self._lock = threading.Lock()
        self._found: Any = None
        self.failure: ImportPlatformError | None = None
        """Why the last call of `keys` failed: obstore, which calls it too, hands on no more than a text."""
        self.settings = self._settings()

    def __repr__(self) -> str:
        return f"S3Access({self.settings})"

    def keys(self) -> Keys | None:
        """Those in force now, renewed where they are about to end; None where requests are not signed.

        Raises:
            ConfigError: there are none, or who gives them refuses (log in, or mend the profile).
            StoreUnavailable: who gives them did not answer.
        """
        if self.settings.get("AWS_SKIP_SIGNATURE", "").lower() in ("true", "1"):
            return None
        if self._own is not None:
            return self._own
        with self._lock:
            try:
                self.failure = None
                return self._asked()
            except ImportPlatformError as error:
                self.failure = error
                raise

    def storage_options(self) -> dict[str, str]:
        """deltalake's options with the keys in force now; it cannot renew them, so they are asked for before each use.

        Raises as `keys`."""
        keys = self.keys()
        if keys is None:
            return dict(self.settings)
        found = {"AWS_ACCESS_KEY_ID": keys.access_key_id, "AWS_SECRET_ACCESS_KEY": keys.secret_access_key}
        return {**self.settings, **found, **({"AWS_SESSION_TOKEN": keys.token} if keys.token else {})}

    def bucket(self, uri: str) -> S3Store:
        """obstore's client of `s3://bucket/prefix`, which asks for keys again while it is used.

        Raises ConfigError: this is no such address."""
        config = {name.lower(): value for name, value in self.settings.items() if name != "AWS_ALLOW_HTTP"}
        is_signed = self.settings.get("AWS_SKIP_SIGNATURE", "").lower() not in ("true", "1")
        try:
            return S3Store.from_url(
                uri,
                config=cast("Any", config),
                client_options={"allow_http": True},
                credential_provider=cast("Any", self._for_obstore) if is_signed else None,
            )
        except (BaseError, ValueError):
            raise ConfigError("the address names no bucket of S3", remedy="Write s3://bucket/prefix.") from None

    def _for_obstore(self) -> dict[str, Any]:
        keys = self.keys()
        assert keys is not None, "asked for where requests are signed"
        return {
            "access_key_id": keys.access_key_id,
            "secret_access_key": keys.secret_access_key,
            "token": keys.token,
            "expires_at": datetime.now(UTC) + HELD,
        }

    @cached_property
    def _own(self) -> Keys | None:
        """Keys that stand in variables, which go before every other place."""
        key, secret = self._env.get("AWS_ACCESS_KEY_ID"), self._env.get("AWS_SECRET_ACCESS_KEY")
        return Keys(key, secret, self._env.get("AWS_SESSION_TOKEN") or None) if key and secret else None

    def _asked(self) -> Keys:
        with self._explained():
            if self._found is None:
                self._session.set_config_variable("region", self.settings["AWS_REGION"])  # it knows no AWS_REGION
                self._found = self._session.get_credentials()
            frozen = self._found.get_frozen_credentials() if self._found is not None else None
        if frozen is None or not frozen.access_key or not frozen.secret_key:
            raise ConfigError("no keys for S3 were found", **self._profile, remedy=REMEDY)
        return Keys(frozen.access_key, frozen.secret_key, frozen.token)

    def _settings(self) -> dict[str, str]:
        profile = self._read_profile() if self._needs_profile() else {}
        env = {name: value for name, value in self._env.items() if value}
        region = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or profile.get("region") or "us-east-1"
        endpoint = env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL") or profile.get("endpoint_url")
        settings = {name: env[name] for name in _PASSED_ON if name in env} | {"AWS_REGION": region}
        if endpoint:
            settings["AWS_ENDPOINT_URL"] = endpoint
            settings |= {"AWS_ALLOW_HTTP": "true"} if endpoint.startswith("http://") else {}
        return settings

    def _needs_profile(self) -> bool:
        """Whether boto3 would find anything there; botocore takes 9 MB and 0.13 s."""
        config = Path(self._env.get("AWS_CONFIG_FILE") or "~/.aws/config").expanduser()
        return self._own is None or bool(self._profile) or config.is_file()

    def _read_profile(self) -> dict[str, str]:
        with self._explained():
            profile = dict(self._session.get_scoped_config())
            services = self._session.full_config.get("services", {}).get(profile.get("services"), {})
        return profile | dict(services.get("s3", {}))

    @property
    def _profile(self) -> dict[str, str]:
        name = self._env.get("AWS_PROFILE") or self._env.get("AWS_DEFAULT_PROFILE")
        return {"profile": name} if name else {}

    @cached_property
    def _session(self) -> Any:
        from botocore.session import Session  # type: ignore[import-untyped]  # noqa: PLC0415  see _needs_profile

        session = Session()
        if self._env is not os.environ:
            for name, variable in _FILES.items():
                if self._env.get(variable):
                    session.set_config_variable(name, self._env[variable])
        return session

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """botocore's errors without their texts, which may hold what a process that gives keys has said."""
        from botocore import exceptions as boto  # type: ignore[import-untyped]  # noqa: PLC0415  see _needs_profile

        try:
            yield
        except boto.ProfileNotFound:
            raise ConfigError("the AWS profile does not exist", **self._profile, remedy=REMEDY) from None
        except (boto.BotoCoreError, boto.ClientError, OSError, ValueError, KeyError) as error:
            said = getattr(error, "response", {}).get("Error", {}).get("Code", type(error).__name__)
            silent = (boto.ConnectionError, boto.HTTPClientError, boto.MetadataRetrievalError)
            if isinstance(error, silent) or isinstance(error.__context__, silent):
                raise StoreUnavailable(
                    "who gives the keys for S3 did not answer",
                    **self._profile,
                    reason=said,
                    remedy="Check the network; the next run goes on.",
                ) from None
            raise ConfigError("no keys for S3 can be had", **self._profile, reason=said, remedy=REMEDY) from None
