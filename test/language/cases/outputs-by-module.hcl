# run: succeeded
# rules: s24
# a: succeeded
# b: succeeded
# c: succeeded
# log c: 1
# log c: 2
pipeline "outputs_by_module" {
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
    layout     = "by-module"
    command    = ["cat", "a/x", "b/x"]
  }
}
