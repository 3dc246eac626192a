# run: succeeded
# rules: 7
# a: succeeded
# log a: p m
pipeline "env" {
  workspace {
    exclude = ["**"]
  }
  env = { A = "p", B = "p" }
  module "a" {
    env    = { B = "m" }
    script = "echo $A $B"
  }
}
