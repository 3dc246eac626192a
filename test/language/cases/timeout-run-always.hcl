# run: failed
# rules: 5
# a: cancelled
# b: succeeded
pipeline "timeout_run_always" {
  workspace {
    exclude = ["**"]
  }
  timeout = "700ms"
  module "a" {
    command = ["sleep", "60"]
    grace   = "1s"
  }
  module "b" {
    depends_on = [module.a]
    always_run = true
    command    = ["true"]
  }
}
