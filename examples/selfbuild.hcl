# Builds this very repository: vets it, tests a part of it, builds the binary
# for two platforms, and packs each with its documents.
#
#   pipelined run examples/selfbuild.hcl
#   pipelined artifacts RUN package -o out
#
# A module's environment starts empty. Go's caches therefore live in a directory
# that the worker keeps between runs, and what it lacks is downloaded. Where
# Go needs a proxy or has modules already, pass that on:
#
#   pipelined agent -module-env GOMODCACHE,GOPROXY,GOFLAGS,HTTPS_PROXY

pipeline "selfbuild" {
  description = "Vet, test, build and package this repository"

  variable "version" {
    type        = string
    default     = "dev"
    description = "Stands in the names of the packages"
  }

  locals {
    # What the compiler reads; documents and examples may change without it.
    sources = ["go.*", "api/**", "cluster/**", "cmd/**", "executor/**", "fsm/**",
    "internal/**", "pipeline/**", "scheduler/**", "storage/**"]

    # The beginning of every script that uses Go. A value that the agent passes
    # on wins over the worker's kept directory.
    go = <<-SH
      export GOPATH="$${GOPATH:-$PIPELINED_CACHE/go}"
      export GOMODCACHE="$${GOMODCACHE:-$PIPELINED_CACHE/go/pkg/mod}"
      export GOCACHE="$${GOCACHE:-$PIPELINED_CACHE/go/build}"
      # Writable, so that the worker can clear its cache; there is no .git here.
      export GOFLAGS="$${GOFLAGS:-} -modcacherw -buildvcs=false"
    SH

    build = <<-SH
      name="bin/pipelined-$GOOS-$GOARCH"
      mkdir -p bin
      go build -trimpath -ldflags "-s -w" -o "$name" ./cmd/pipelined
      if [ "$GOARCH" = "$(go env GOHOSTARCH)" ] && [ "$GOOS" = "$(go env GOHOSTOS)" ]; then
        "./$name" version
      fi
      echo "bytes=$(wc -c < "$name" | tr -d ' ')" >> "$PIPELINED_OUTPUT"
      echo "sha256=$(sha256sum "$name" | cut -d ' ' -f 1)" >> "$PIPELINED_OUTPUT"
    SH
  }

  env = {
    CGO_ENABLED = "0"
  }

  # This file lies in examples/; the whole repository goes along.
  workspace {
    root    = ".."
    exclude = ["bin/**", "dist/**"]
  }

  # Every module has cache = true: what was done for the same files is not done
  # again. A newer Go is no change of the files; -refresh runs everything anew.
  module "vet" {
    inputs   = concat(local.sources, ["test/**"])
    cache    = true
    caches   = ["go"]
    requires = { tools = ["go"] }
    timeout  = "15m"
    script   = <<-SH
      ${local.go}
      go version
      go vet ./...
    SH
  }

  module "test" {
    inputs   = local.sources
    cache    = true
    caches   = ["go"]
    requires = { tools = ["go"] }
    timeout  = "15m"
    script   = <<-SH
      ${local.go}
      go test ./scheduler
    SH
  }

  module "build-amd64" {
    inputs   = local.sources
    cache    = true
    outputs  = ["bin/*"]
    caches   = ["go"]
    requires = { tools = ["go"] }
    timeout  = "15m"
    env      = { GOOS = "linux", GOARCH = "amd64" }
    script   = "${local.go}\n${local.build}"
  }

  module "build-arm64" {
    inputs   = local.sources
    cache    = true
    outputs  = ["bin/*"]
    caches   = ["go"]
    requires = { tools = ["go"] }
    timeout  = "15m"
    env      = { GOOS = "linux", GOARCH = "arm64" }
    script   = "${local.go}\n${local.build}"
  }

  module "package" {
    depends_on = [module.vet, module.test]
    inputs     = ["LICENSE", "README.md", "CHANGELOG.md", "docs/**", "examples/**"]
    outputs    = ["dist/*"]
    cache      = true
    env = {
      VERSION = var.version
      AMD64   = module.build-amd64.result.sha256
      ARM64   = module.build-arm64.result.sha256
    }
    script = <<-SH
      # What the builds said of their binaries must hold for what arrived here.
      printf '%s  bin/pipelined-linux-amd64\n%s  bin/pipelined-linux-arm64\n' "$AMD64" "$ARM64" | sha256sum -c -

      mkdir -p dist
      for arch in amd64 arm64; do
        name="pipelined-$VERSION-linux-$arch"
        mkdir "$name"
        cp -R LICENSE README.md CHANGELOG.md docs examples "$name/"
        cp "bin/pipelined-linux-$arch" "$name/pipelined"
        tar -czf "dist/$name.tar.gz" "$name"
      done
      (cd dist && sha256sum *.tar.gz > SHA256SUMS && cat SHA256SUMS)
      echo "packages=$(ls dist/*.tar.gz | wc -l | tr -d ' ')" >> "$PIPELINED_OUTPUT"
    SH
  }

  module "report" {
    command = [
      "echo",
      "packed ${module.package.result.packages} packages; the binaries have ${module.build-amd64.result.bytes} and ${module.build-arm64.result.bytes} bytes",
    ]
    inputs = []
    cache  = true
  }
}
