# rules: container 10
# run: invalid
# error: image: invalid image "golang 1.26"
# error: pull without image
# error: a service beside a module without image
# error: service: invalid name "Big" of a service
# error: second service "db"
# error: service "empty" without image
# error: pull: invalid value "sometimes"
# error: service is a block
pipeline "mistakes" {
  module "a" {
    image   = "golang 1.26"
    pull    = "sometimes"
    command = ["true"]
    service "Big" {
      image = "x"
    }
    service "db" {
      image = "x"
    }
    service "db" {
      image = "x"
    }
    service "empty" {
    }
  }

  module "b" {
    pull    = "always"
    command = ["true"]
    service "db" {
      image = "x"
    }
  }

  module "c" {
    image   = "x"
    command = ["true"]
    service = "db"
  }
}
