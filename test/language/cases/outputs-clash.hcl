# run: failed
# rules: s24
# a: succeeded
# b: succeeded
# c: failed "x"
pipeline "outputs_clash" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    script  = "echo 1 > x"
    outputs = ["x"]
  }
  module "b" {
    script  = "echo 2 > x"
    outputs = ["x"]
  }
  module "c" {
    depends_on = [module.a, module.b]
    command    = ["true"]
  }
}
