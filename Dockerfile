# A CPU image of the server: no root, and its root file system may be read-only (--read-only --tmpfs /tmp).
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN python -m venv /opt/shoestring \
 && /opt/shoestring/bin/pip install --no-cache-dir '.[serve,minilm]'

FROM python:3.11-slim
COPY --from=build /opt/shoestring /opt/shoestring
# Kernels of numba are compiled at the first use and kept under HOME: in the temporary folder.
ENV PATH=/opt/shoestring/bin:$PATH HOME=/tmp HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
USER 10001
EXPOSE 8321
ENTRYPOINT ["shoestring"]
CMD ["serve", "--help"]
