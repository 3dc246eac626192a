# engine
# rules: container 5 6
# run: failed
# exit: failed "exit code 7"
# attempts exit: 2
# absent: failed "exit code 127"
# never: failed "is not on this machine, and pull"
# memory: failed "exit code 137"
# late: failed "timed out after 15s"
# log late: asked to end
# idle: failed "no output for 1s"
# empty: failed "service web: image test/busybox:1: "
# attempts empty: 1
pipeline "failures" {
  workspace {
    exclude = ["**"]
  }
  on_failure = "continue"

  module "exit" {
    image  = "test/busybox:1"
    script = "exit 7"
    retry {
      attempts   = 2
      backoff    = "10ms"
      exit_codes = [7]
    }
  }

  module "absent" {
    image   = "test/busybox:1"
    command = ["no-such-program"]
  }

  module "never" {
    image   = "test/absent:1"
    pull    = "never"
    command = ["true"]
  }

  module "memory" {
    image     = "test/busybox:1"
    resources = { memory = "16MiB" }
    script    = "dd if=/dev/zero of=/dev/shm/x bs=1M count=60"
  }

  module "late" {
    image   = "test/busybox:1"
    timeout = "15s"
    script  = "trap 'echo asked to end; exit 0' TERM; while true; do sleep 1; done"
  }

  module "empty" {
    image  = "test/busybox:1"
    script = "true"
    service "web" {
      image = "test/busybox:1" # which has no command
    }
  }

  module "idle" {
    image        = "test/busybox:1"
    idle_timeout = "1s"
    script       = "sleep 60"
  }
}
