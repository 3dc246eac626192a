# run: succeeded
# rules: 7
# a: succeeded
# b: succeeded
# log b: x
pipeline "working_dir" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    script  = "mkdir d; echo x > d/f"
    outputs = ["d/f"]
  }
  module "b" {
    depends_on  = [module.a]
    working_dir = "d"
    command     = ["cat", "f"]
  }
}
