# run: failed
# rules: 5
# a: failed
# b: failed
# attempts b: 2
pipeline "always_run_retries" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    command = ["false"]
  }
  module "b" {
    depends_on = [module.a]
    always_run = true
    command    = ["false"]
    retry {
      attempts = 2
      backoff  = "10ms"
    }
  }
}
