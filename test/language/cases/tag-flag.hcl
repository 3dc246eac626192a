# run: succeeded
# rules: 9
# flags: -tag fast
# a: succeeded
# b: succeeded
pipeline "tag_flag" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    command = ["true"]
  }
  module "b" {
    tags       = ["fast"]
    depends_on = [module.a]
    command    = ["true"]
  }
  module "c" {
    tags    = ["slow"]
    command = ["false"]
  }
}
