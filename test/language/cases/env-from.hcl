# run: succeeded
# rules: 7
# a: succeeded
# log a: from outside -
pipeline "env_from" {
  workspace {
    exclude = ["**"]
  }
  env_from = ["CASE_V*"]
  module "a" {
    script = "echo $CASE_VAR $${CASE_OTHER:--}"
  }
}
