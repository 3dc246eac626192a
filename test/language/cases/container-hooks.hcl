# engine
# rules: container s25
# run: failed
# a: failed "exit code 3"
# log a: before made this
# log a: on_failure in busybox
# log a: after failed
pipeline "hooks" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    image  = "test/busybox:1"
    script = "cat made; exit 3"
    hooks {
      before     = "echo before made this > made"
      on_success = "echo never"
      on_failure = "readlink /bin/ls | sed 's/^/on_failure in /'"
      after      = "echo after $PIPELINED_STATUS"
    }
  }
}
