# An image in which `make demo` and `make test` run. For CPUs, and for NVIDIA GPUs:
#
#     docker build -t channel-distillation .
#     docker build -t channel-distillation --build-arg BASE=nvidia/cuda:12.8.1-runtime-ubuntu24.04 .
#
# The base must be a Debian or an Ubuntu whose python3 is 3.11 or later.
ARG BASE=python:3.12-slim
FROM ${BASE}

# g++ and Python's headers are for torch.compile. A base that has a python3 keeps it.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ git make \
    && if ! command -v python3; then \
        apt-get install --yes --no-install-recommends python3-dev python3-venv; fi \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 user \
    && install --directory --owner=user --group=user /app
USER 10001
WORKDIR /app

# The packages come first, so that a change of the code does not install them again.
COPY --chown=user:user Makefile pyproject.toml ./
RUN make .venv/ready && rm -rf ~/.cache
COPY --chown=user:user . .

ENV PATH=/app/.venv/bin:${PATH}
CMD ["make", "demo"]
