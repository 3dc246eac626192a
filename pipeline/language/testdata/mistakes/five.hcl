# Five different mistakes, one after the other.
pipeline "release" {
  variable "version" {
    type = string
  }

  module "build" {
    command = ["go", "build", var.verson]
    timeout = "10"
  }

  module "test" {
    depends_on = [module.biuld]
    script     = "go test ./..."
    outptus    = ["report.json"]
  }

	module "package" {
		command = ["tar", "cf", "größe.tar", upper(1)]
		inputs  = ["bin/*", "../secret"]
	}
}
