# run: invalid
# rules: 2 10
# error: a -> b -> c -> a
pipeline "invalid_cycle" {
  module "a" {
    command    = ["true"]
    depends_on = [module.b]
  }
  module "b" {
    command = ["echo", module.c.status]
  }
  module "c" {
    command             = ["true"]
    optional_depends_on = [module.a]
  }
}
