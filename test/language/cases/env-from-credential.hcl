# run: succeeded
# rules: 7
# a: succeeded
# log a: from outside - -
# b: succeeded
# log b: ***
pipeline "env_from_credential" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    env_from = ["CASE_*", "CASE_TOKENS"]
    script   = "echo $CASE_VAR $${CASE_TOKEN:--} $${CASE_TOKENS:--}"
  }
  module "b" {
    env_from = ["CASE_TOKEN"]
    script   = "echo $CASE_TOKEN"
  }
}
