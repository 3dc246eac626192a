# run: succeeded
# rules: 7
# a: succeeded
# log a: true -
pipeline "env_clean" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    script = "echo $CI $${CASE_VAR:--}"
  }
}
