# run: failed
# rules: 6
# a: failed
# b: failed
# attempts a: 1
# attempts b: 2
pipeline "retry_exit_codes" {
  workspace {
    exclude = ["**"]
  }
  on_failure = "continue"
  module "a" {
    command = ["sh", "-c", "exit 3"]
    retry {
      attempts   = 2
      backoff    = "10ms"
      exit_codes = [75]
    }
  }
  module "b" {
    command = ["sh", "-c", "exit 75"]
    retry {
      attempts   = 2
      backoff    = "10ms"
      exit_codes = [75]
    }
  }
}
