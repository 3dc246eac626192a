# run: failed
# rules: 6
# a: failed "no output for 200ms"
# attempts a: 2
pipeline "idle_timeout_retry" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    command      = ["sleep", "60"]
    idle_timeout = "200ms"
    grace        = "1s"
    retry {
      attempts = 2
      backoff  = "10ms"
    }
  }
}
