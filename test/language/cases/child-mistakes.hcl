# run: invalid
# rules: 10 child
# error: pipeline "lib/none.hcl": there is no file
# error: pipeline "../above.hcl" is outside of the workspace root
# error: pipeline: "https://example.org/p.hcl" is no file of the workspace
# error: there are no network imports
# error: variables.numbers: wrong type
# error: unknown variable "wrod"
# error: did you mean "word"?
# error: variable "word" of pipeline "inner" has no value
# error: module "more" runs a pipeline: grace has no meaning in it
# error: module "more" runs a pipeline: hooks has no meaning in it
# error: module "more" runs a pipeline, which has no exit code
# error: variables.word cannot name var.token
# error: variables of module "command" are for a pipeline, and it runs none
pipeline "child-mistakes" {
  variable "token" {
    default   = "x"
    sensitive = true
  }
  module "none" {
    pipeline = "lib/none.hcl"
  }
  module "above" {
    pipeline = "../above.hcl"
  }
  module "network" {
    pipeline = "https://example.org/p.hcl"
  }
  module "type" {
    pipeline  = "lib/inner.hcl"
    variables = { word = "x", numbers = true }
  }
  module "name" {
    pipeline  = "lib/inner.hcl"
    variables = { wrod = "x" }
  }
  module "more" {
    pipeline  = "lib/inner.hcl"
    variables = { word = "x" }
    grace     = "1m"
    hooks {
      after = "true"
    }
    retry {
      attempts   = 2
      exit_codes = [1]
    }
  }
  module "sensitive" {
    pipeline  = "lib/inner.hcl"
    variables = { word = var.token }
  }
  module "command" {
    command   = ["true"]
    variables = { word = "x" }
  }
}
