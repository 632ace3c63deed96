# The image of the code location and of every run. Built from requirements.image.lock only: nothing without its hash.
#   docker build -t registry.example.com/import-platform:0.1.0 .
FROM python:3.12-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /build
# Without a pip of its own: nothing is installed into an image that runs.
RUN python -m venv --without-pip /opt/venv
COPY requirements.image.lock ./
RUN python -m pip --python /opt/venv install --require-hashes --no-deps -r requirements.image.lock
# The wheel is made by the build backend that requirements.lock pins; it is no part of the image.
COPY requirements.lock pyproject.toml README.md ./
RUN python -m venv /opt/tools \
    && awk '/^[a-z0-9]/ { keep = /^(hatchling|packaging|pathspec|pluggy|trove-classifiers)==/ } keep' requirements.lock > tools.lock \
    && /opt/tools/bin/pip install --require-hashes --no-deps -r tools.lock
COPY import_platform ./import_platform
RUN /opt/tools/bin/python -m hatchling build -t wheel -d /build/dist \
    && python -m pip --python /opt/venv install --no-deps --no-index /build/dist/*.whl \
    && /opt/venv/bin/python -m compileall -q /opt/venv/lib

FROM python:3.12-slim-bookworm
# tini hands SIGTERM on, so that a run gets to its checkpoint, and buries what it leaves behind.
RUN apt-get update && apt-get install -y --no-install-recommends tini && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 import && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /scratch import \
    && mkdir -p /opt/dagster/dagster_home /scratch /etc/import_platform/sources \
    && chown 10001:10001 /opt/dagster/dagster_home /scratch
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    DAGSTER_HOME=/opt/dagster/dagster_home \
    IMPORT_PLATFORM_DEFS=/etc/import_platform/sources \
    HOME=/scratch TMPDIR=/scratch \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    DAGSTER_GRPC_SHUTDOWN_GRACE_PERIOD=5
# The root file system may be read-only: what is written goes to these two, which are volumes in a cluster.
VOLUME ["/opt/dagster/dagster_home", "/scratch"]
WORKDIR /scratch
USER 10001:10001
EXPOSE 3030
ENTRYPOINT ["tini", "--"]
CMD ["dagster", "api", "grpc", "-h", "0.0.0.0", "-p", "3030", "-m", "import_platform.definitions"]
