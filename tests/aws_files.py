"""boto3's files of a person who uses S3: profiles, keys, and a process that gives other keys each time it is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

GIVES = """\
n=$(cat {folder}/given 2>/dev/null || echo 0)
n=$((n + 1))
echo $n > {folder}/given
echo '{{"Version": 1, "AccessKeyId": "KEY'$n'", "SecretAccessKey": "hushed", "SessionToken": "token'$n'",
  "Expiration": "'$(date -u -d '+5 minutes' +%Y-%m-%dT%H:%M:%SZ)'"}}'
"""


@dataclass(frozen=True)
class AwsFiles:
    """A home folder without any keys yet."""

    home: Path

    @property
    def environ(self) -> dict[str, str]:
        """What leads here, and keeps boto3 from asking a cloud that this machine may be in."""
        return {
            "HOME": str(self.home),
            "AWS_CONFIG_FILE": str(self.home / "config"),
            "AWS_SHARED_CREDENTIALS_FILE": str(self.home / "credentials"),
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def config(self, text: str) -> None:
        (self.home / "config").write_text(text)

    def keys(self, profile: str, access_key_id: str, secret_access_key: str) -> None:
        with (self.home / "credentials").open("a") as file:
            file.write(
                f"[{profile}]\naws_access_key_id = {access_key_id}\naws_secret_access_key = {secret_access_key}\n"
            )

    def short_lived(self, profile: str) -> None:
        """KEY1, KEY2 and so on: each has five minutes left, fewer than boto3 is content with, so every question renews."""
        script = self.home / "gives.sh"
        script.write_text(GIVES.format(folder=self.home))
        self.config(f"[profile {profile}]\nregion = eu-north-1\ncredential_process = sh {script}\n")

    @property
    def given(self) -> int:
        """How many keys the process has given."""
        path = self.home / "given"
        return int(path.read_text()) if path.exists() else 0
