# run: succeeded
# rules: 8
# one: succeeded
# two: succeeded
# three: succeeded
# of-one: succeeded
# of-two: cached "result of of-one of run"
# of-three: succeeded
# log of-two: same
# log of-three: other
pipeline "cache_upstream" {
  workspace {
    exclude = ["**"]
  }
  template "make" {
    outputs = ["text"]
  }
  module "one" {
    use    = template.make
    script = "echo same > text"
  }
  module "two" {
    use    = template.make
    script = "echo same > text; true"
  }
  module "three" {
    use    = template.make
    script = "echo other > text"
  }
  module "of-one" {
    command    = ["sh", "-c", "cat text"]
    cache      = true
    cache_key  = [run.id]
    depends_on = [module.one]
  }
  module "of-two" {
    command             = ["sh", "-c", "cat text"]
    cache               = true
    cache_key           = [run.id]
    depends_on          = [module.two]
    optional_depends_on = [module.of-one]
  }
  module "of-three" {
    command    = ["sh", "-c", "cat text"]
    cache      = true
    cache_key  = [run.id]
    depends_on = [module.three, module.of-two]
  }
}
