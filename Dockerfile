FROM python:3.12-slim AS build
RUN python -m venv /venv
COPY requirements.txt /tmp/requirements.txt
RUN /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes \
    --requirement /tmp/requirements.txt

FROM python:3.12-slim
RUN useradd --system --uid 10001 --home-dir /srv bridge \
    && install --directory --owner bridge --mode 0700 /data
COPY --from=build /venv /venv
COPY bridge /srv/bridge
WORKDIR /srv
# Inside a container only its own network can reach the port, until it is published.
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    BRIDGE_HTTP_HOST=0.0.0.0 \
    BRIDGE_HTTP_PORT=8080 \
    BRIDGE_DATA_DIR=/data
USER bridge
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["python", "-c", \
    "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ['BRIDGE_HTTP_PORT']}/live\", timeout=2)"]
CMD ["python", "-m", "bridge", "run"]
