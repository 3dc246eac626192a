# Converted from a workflow of GitHub Actions by pipelined convert; yours to change.
# not converted (line 3): on: push: nothing at a forge starts a pipeline: let a hook or a job there call pipelined submit

pipeline "ci" {
  description = "CI of the shop"
  on_failure  = "continue"
  env         = { GOFLAGS = "-trimpath" }

  concurrency {
    group              = "shop-${git.branch}"
    cancel_in_progress = true
  }

  variable "dry-run" {
    type    = bool
    default = true
  }

  variable "level" {
    type        = string
    default     = "info"
    description = "How much to log"

    validation {
      condition     = contains(["info", "debug"], var.level)
      error_message = "expected one of info, debug"
    }
  }

  schedule {
    cron = "0 3 * * *"
  }

  module "build" {
    # not converted (line 32): runs-on: macos-latest: workers run on Linux
    # not converted (line 38): uses: actions/setup-go with go-version ${{ matrix.go }}: workers bring their tools: requires asks for go, not for a version
    # not converted (line 40): uses: actions/cache: caches keeps directories of tools on a worker, cache = true whole results
    # not converted (line 46): actions/upload-artifact of /var/log/build.log: outputs lie in the module's directory
    description = "Build"
    matrix = {
      os = ["ubuntu-latest"]
      go = ["1.25", "1.26"]
    }
    env              = { LEVEL = var.level != "" ? var.level : "info" }
    secrets          = ["PUBLISH_TOKEN"]
    requires         = { tools = ["go"] }
    timeout          = "6h"
    outputs_optional = ["bin/app-${matrix.go}"]
    shell            = "bash"
    script           = <<-SH
      set +u
      export TOKEN="$PUBLISH_TOKEN"
      # Build  matrix.go
      mkdir -p bin
      echo "$${LEVEL} ${matrix.go}" > bin/app-${matrix.go}
    SH
  }

  module "odd" {
    # not converted (line 54): fail-fast: the other instances run on; on_failure = "cancel" of the pipeline stops all that runs
    for_each = {
      true-fast-mode-small = {
        deep  = true
        extra = "--fast mode"
        size  = "small"
      }
      false-fast-mode-small = {
        deep  = false
        extra = "--fast mode"
        size  = "small"
      }
      false-large = {
        deep  = false
        extra = ""
        size  = "large"
      }
      true-huge = {
        deep  = true
        extra = ""
        size  = "huge"
      }
    }
    secrets = ["PUBLISH_TOKEN"]
    timeout = "6h"
    shell   = "bash"
    script  = <<-SH
      set +u
      export TOKEN="$PUBLISH_TOKEN"
      echo ${each.value.size} ${each.value.deep ? "deep" : "flat"} ${each.value.extra}
    SH
  }

  module "check" {
    depends_on = [module.build, module.odd]
    secrets    = ["PUBLISH_TOKEN"]
    requires   = { tags = ["big"] }
    timeout    = "10m"
    shell      = "bash"
    script     = <<-SH
      set +u
      export TOKEN="$PUBLISH_TOKEN"
      export GITHUB_OUTPUT="$PIPELINED_OUTPUT"
      echo "n=$(ls bin | wc -l)" >> "$GITHUB_OUTPUT"
      set +e
      (
      set -e
      # Try
      cd "bin"
      test -e missing
      )
      set -e
      echo "has $(sed -n 's/^n=//p' "$PIPELINED_OUTPUT" | tail -n 1) of ${git.sha}"
    SH

    hooks {
      on_failure = <<-SH
        export TOKEN="$PUBLISH_TOKEN"
        echo it failed
      SH
      after      = <<-SH
        export TOKEN="$PUBLISH_TOKEN"
        echo done
      SH
    }
  }

  module "flaky" {
    depends_on     = [module.check]
    ignore_failure = true
    secrets        = ["PUBLISH_TOKEN"]
    timeout        = "6h"
    shell          = "bash"
    script         = <<-SH
      set +u
      export TOKEN="$PUBLISH_TOKEN"
      (
      exit 1
      )
      if [ "${var.dry-run}" = true ]; then
      echo dry
      fi
    SH
  }

  module "publish" {
    # not converted (line 96): environment: production: if people approve it, write a module with an approval block and depend on it; its secrets are set by pipelined secrets set
    # not converted (line 98): services: a module with an image has service blocks, and reaches each by its name, not at localhost
    # not converted (line 104): uses: docker/login-action@v3: actions run at GitHub alone: write what it does into the script
    # not converted (line 105): step run: Write-Host hello: shell pwsh is not converted
    depends_on = [module.check, module.flaky]
    run_if     = "not_failed"
    when       = git.branch == "main" && try(module.check.result.n, "") != "0"
    secrets    = ["API_KEY", "PUBLISH_TOKEN"]
    timeout    = "6h"
    shell      = "bash"
    script     = <<-SH
      set +u
      export TOKEN="$PUBLISH_TOKEN"
      export WHO="${run.submitter}"
      echo "publish for $WHO with $API_KEY and $TOKEN"
      # not converted (line 104): uses: docker/login-action@v3
      # not converted (line 105): run: Write-Host hello
    SH
  }

  module "guarded" {
    # not converted (line 108): if: github.event.pull_request.draft: there are no events of GitHub here
    when    = false
    secrets = ["PUBLISH_TOKEN"]
    timeout = "6h"
    shell   = "bash"
    script  = <<-SH
      export TOKEN="$PUBLISH_TOKEN"
      echo guarded
    SH
  }

  module "windows" {
    # not converted (line 113): runs-on: windows-latest: workers run on Linux
    when    = false
    secrets = ["PUBLISH_TOKEN"]
    shell   = "bash"
    script  = <<-SH
      export TOKEN="$PUBLISH_TOKEN"
      dir
    SH
  }

  module "tell" {
    depends_on = [module.publish]
    when       = module.publish.status == "failed" || startswith(git.tag, "v")
    always_run = true
    secrets    = ["PUBLISH_TOKEN"]
    timeout    = "6h"
    shell      = "bash"
    script     = <<-SH
      set +u
      export TOKEN="$PUBLISH_TOKEN"
      export GITHUB_WORKSPACE="$PIPELINED_WORKSPACE"
      export GITHUB_ENV="$TMPDIR/github_env"; : > "$GITHUB_ENV"
      github_env() {
        while IFS= read -r line; do
          case "$line" in
          *=*) export "$line" ;;
          *"<<"*)
            value=; end="$${line#*<<}"; name="$${line%%<<*}"
            while IFS= read -r line && [ "$line" != "$end" ]; do value="$value
      $line"; done
            export "$name=$${value#?}" ;;
          esac
        done < "$GITHUB_ENV"
      }
      (
      echo "KEY=value" >> "$GITHUB_ENV"
      )
      github_env
      echo "$KEY in $GITHUB_WORKSPACE"
    SH
  }

  module "other" {
    # not converted (line 123): uses: ./.github/workflows/other.yml: a reusable workflow: convert it too, and write pipeline = "ITS.hcl" and variables = { … } in place of command
    when    = false
    command = ["true"]
  }
}
