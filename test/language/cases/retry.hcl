# run: failed
# rules: 6
# kill
# a: failed
# attempts a: 3
pipeline "retry" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    command = ["false"]
    retry {
      attempts = 3
      backoff  = "50ms"
    }
  }
}
