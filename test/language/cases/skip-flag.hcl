# run: succeeded
# rules: 9
# flags: -skip b
# a: succeeded
# b: skipped "-skip"
# c: skipped "dependency b was skipped"
pipeline "skip_flag" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    command = ["true"]
  }
  module "b" {
    command = ["false"]
  }
  module "c" {
    depends_on = [module.b]
    command    = ["true"]
  }
}
