pipeline "release" {
  description  = "Build, test and package the app"
  max_parallel = 16
  on_failure   = "stop"
  tags         = ["ci"]

  variable "version" {
    type        = string
    default     = "dev"
    description = "Version stamped into the binary"
  }

  locals {
    flags = "-trimpath"
    image = "app-${var.version}"
    count = "passed: ${module.build.result.passed}"
  }

  env = {
    CGO_ENABLED = "0"
    BUILD       = "${run.number}"
  }

  workspace {
    root    = "."
    exclude = ["dist/**"]
  }

  module "build" {
    command  = ["go", "build", local.flags, "-o", "bin/${local.image}"]
    env      = { GOOS = "linux" }
    inputs   = ["go.*", "./cmd/", "internal/**"]
    outputs  = ["bin/*"]
    requires = { os = "linux", tools = ["go"], tags = ["big"] }
    timeout  = "10m"
    grace    = "10s"
    retry {
      attempts   = 3
      backoff    = "1s"
      exit_codes = [75]
    }
  }

  module "test" {
    depends_on = [module.build]
    script     = <<-SH
      go test ./... -json > report.json
      echo "passed=$(grep -c pass report.json) $${HOME} ${local.count}" >> "$PIPELINED_OUTPUT"
        indented
    SH
    env = { N = module.build.result.n, BUILD = 5 }
    outputs    = ["report.json"]
    timeout = "0"
  }

  module "notify" {
    depends_on = ["test", module.build]
    command    = ["./notify.sh", module.build.status]
  }
}
