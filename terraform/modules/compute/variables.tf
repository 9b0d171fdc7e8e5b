variable "name" {
  description = "Name of the cluster, prefix of the others."
  type        = string
}

variable "region" {
  description = "Region of the tasks."
  type        = string
}

variable "image" {
  description = "Image of both kinds of task."
  type        = string
}

variable "cpu_architecture" {
  description = "Architecture that the image was built for: X86_64 or ARM64."
  type        = string
}

variable "container_insights" {
  description = "Whether CloudWatch keeps metrics of tasks, at a price."
  type        = bool
}

variable "role_arns" {
  description = "Roles by use: execution, service, worker."
  type        = map(string)
}

variable "log_groups" {
  description = "Log groups by role: service, worker."
  type        = map(string)
}

variable "log_level" {
  description = "RUST_LOG of the tasks."
  type        = string
}

variable "vpc_id" {
  description = "Network of the tasks."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets of the tasks."
  type        = list(string)
}

variable "endpoints_security_group_id" {
  description = "Group of the interface endpoints."
  type        = string
}

variable "s3_prefix_list_id" {
  description = "Addresses of S3."
  type        = string
}

variable "client_cidrs" {
  description = "Networks whose clients may query and submit."
  type        = list(string)
}

variable "namespace" {
  description = "Private DNS domain of the tasks."
  type        = string
}

variable "secrets" {
  description = "ARNs of secrets in Secrets Manager; see the root module."
  type = object({
    service_tokens = string
    worker_tokens  = string
    worker_token   = string
  })
}

variable "state_location" {
  description = "s3:// location of states, with a slash at its end."
  type        = string
}

variable "results_location" {
  description = "s3:// location of results, with a slash at its end."
  type        = string
}

variable "job_files" {
  description = "Job files in the image that are run from the start."
  type        = list(string)
}

variable "environment" {
  description = "More environment of the service, as job files need it."
  type        = map(string)
}

variable "otlp" {
  description = "OTLP collector: endpoint, port, and the networks it is in; null exports nothing."
  type = object({
    endpoint    = string
    port        = number
    cidr_blocks = list(string)
  })
}

variable "service_size" {
  description = "CPU units and MiB of memory of the service."
  type        = object({ cpu = number, memory = number })
}

variable "worker_size" {
  description = "CPU units and MiB of memory of a worker."
  type        = object({ cpu = number, memory = number })
}

variable "ephemeral_storage_gib" {
  description = "Disk of a task, where large queries spill."
  type        = number
}

variable "worker_count" {
  description = "Workers, or the fewest of them where there is autoscaling."
  type        = number
}

variable "worker_count_max" {
  description = "The most workers; autoscaling works where it is above worker_count."
  type        = number
}

variable "worker_cpu_percent_target" {
  description = "CPU use that autoscaling aims for."
  type        = number
}

variable "workers_on_spot" {
  description = "Whether workers run on spare capacity, which AWS may take back."
  type        = bool
}
