# run: failed
# rules: 5
# a: cancelled "timeout"
# b: cancelled "timeout"
pipeline "timeout_run" {
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
    command    = ["true"]
  }
}
