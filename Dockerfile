# Builds lasnet in a fresh Debian and runs its tests, without CUDA:
#
#   docker build -t lasnet .
#   docker run --rm lasnet run models/demo.safetensors samples/bird_nuthatch.jpg
#
# `docker build --build-arg TRAIN=OFF` leaves training out, and with it libtorch, which is the largest package.
FROM debian:12

ARG TRAIN=ON
RUN apt-get update && apt-get install -y --no-install-recommends git make && rm -rf /var/lib/apt/lists/*
WORKDIR /lasnet
# The packages in a layer of their own: they change less often than the code.
COPY Makefile ./
COPY scripts/install-deps.sh scripts/
RUN make deps TRAIN=$TRAIN
COPY . .
RUN make build TRAIN=$TRAIN CUDA=OFF
RUN make test TRAIN=$TRAIN CUDA=OFF
ENTRYPOINT ["build/lasnet"]
