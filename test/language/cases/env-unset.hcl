# run: succeeded
# rules: 7
# kill
# a: succeeded
# b: succeeded
# c: succeeded
# log b: - - - - own
# log c: p - true from_outside m
pipeline "env_unset" {
  workspace {
    exclude = ["**"]
  }
  env      = { A = "p", BACK = null }
  env_from = ["CASE_V*"]
  template "shared" {
    env = { T = "t", BACK = "own" }
  }
  module "a" {
    script = "echo '{\"none\": null}' > $PIPELINED_OUTPUT"
  }
  module "b" {
    use    = template.shared
    env    = { A = module.a.result.none, T = null, CI = null, CASE_VAR = null }
    script = "echo $${A-'-'} $${T-'-'} $${CI-'-'} $${CASE_VAR-'-'} $${BACK-'-'}"
  }
  module "c" {
    env    = { T = null, BACK = "m" }
    script = "echo $${A-'-'} $${T-'-'} $${CI-'-'} $(echo $CASE_VAR | tr ' ' _) $BACK"
  }
}
