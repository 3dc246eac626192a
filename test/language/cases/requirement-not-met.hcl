# run: failed
# rules: 5
# kill
# requirement[x]: failed "install x"
# a: skipped
# b: skipped
pipeline "requirement_not_met" {
  workspace {
    exclude = ["**"]
  }
  requirement "x" {
    command = ["false"]
    message = "install x"
  }
  module "a" {
    command = ["true"]
  }
  module "b" {
    depends_on = [module.a]
    command    = ["true"]
  }
}
