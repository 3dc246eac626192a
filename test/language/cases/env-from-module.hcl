# run: succeeded
# rules: 7
# a: succeeded
# b: succeeded
# log a: from outside
# log b: -
pipeline "env_from_module" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    env_from = ["CASE_VAR"]
    script   = "echo $CASE_VAR"
  }
  module "b" {
    script = "echo $${CASE_VAR:--}"
  }
}
