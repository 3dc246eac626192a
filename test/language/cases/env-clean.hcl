# run: succeeded
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
