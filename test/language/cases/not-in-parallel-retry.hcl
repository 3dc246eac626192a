# run: failed
# rules: s28
# a: failed
# attempts a: 2
# b: succeeded
pipeline "not_in_parallel_retry" {
  workspace {
    exclude = ["**"]
  }
  on_failure = "continue"
  module "a" {
    not_in_parallel = ["conf-z"]
    command         = ["false"]
    retry {
      attempts = 2
      backoff  = "50ms"
    }
  }
  module "b" {
    not_in_parallel = ["conf-z"]
    command         = ["true"]
  }
}
