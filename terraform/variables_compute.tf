variable "cpu_architecture" {
  description = "Architecture that the image was built for."
  type        = string
  default     = "X86_64"

  validation {
    condition     = contains(["X86_64", "ARM64"], var.cpu_architecture)
    error_message = "cpu_architecture: ${var.cpu_architecture} must be X86_64 or ARM64."
  }
}

variable "service_size" {
  description = "CPU units (1024 a core) and MiB of memory of the service."
  type        = object({ cpu = number, memory = number })
  default     = { cpu = 2048, memory = 8192 }

  validation {
    condition = try(
      var.service_size.memory >= local.memory_mib[var.service_size.cpu].min
      && var.service_size.memory <= local.memory_mib[var.service_size.cpu].max
      && var.service_size.memory % local.memory_mib[var.service_size.cpu].step == 0,
      false,
    )
    error_message = "service_size: Fargate has no ${var.service_size.cpu} CPU units with ${var.service_size.memory} MiB; it has ${local.sizes}."
  }
}

variable "worker_size" {
  description = "CPU units and MiB of memory of a worker."
  type        = object({ cpu = number, memory = number })
  default     = { cpu = 4096, memory = 16384 }

  validation {
    condition = try(
      var.worker_size.memory >= local.memory_mib[var.worker_size.cpu].min
      && var.worker_size.memory <= local.memory_mib[var.worker_size.cpu].max
      && var.worker_size.memory % local.memory_mib[var.worker_size.cpu].step == 0,
      false,
    )
    error_message = "worker_size: Fargate has no ${var.worker_size.cpu} CPU units with ${var.worker_size.memory} MiB; it has ${local.sizes}."
  }
}

locals {
  # What Fargate offers, by CPU units. Less than a core is not worth a worker's connection.
  memory_mib = {
    1024  = { min = 2048, max = 8192, step = 1024 }
    2048  = { min = 4096, max = 16384, step = 1024 }
    4096  = { min = 8192, max = 30720, step = 1024 }
    8192  = { min = 16384, max = 61440, step = 4096 }
    16384 = { min = 32768, max = 122880, step = 8192 }
  }
  sizes = join("; ", [for cpu in [1024, 2048, 4096, 8192, 16384] : format(
    "%d with %d to %d in steps of %d", cpu,
    local.memory_mib[cpu].min, local.memory_mib[cpu].max, local.memory_mib[cpu].step,
  )])
}

variable "ephemeral_storage_gib" {
  description = "Disk of each task, where large queries spill."
  type        = number
  default     = 30

  validation {
    condition     = var.ephemeral_storage_gib >= 21 && var.ephemeral_storage_gib <= 200
    error_message = "ephemeral_storage_gib: Fargate gives from 21 to 200 GiB, not ${var.ephemeral_storage_gib}."
  }
}

variable "worker_count" {
  description = "Workers, or the fewest of them where worker_count_max is set."
  type        = number
  default     = 2

  validation {
    condition     = var.worker_count >= 1 && var.worker_count <= 8 && floor(var.worker_count) == var.worker_count
    error_message = "worker_count: ${var.worker_count} must be from 1 to 8: an answer of Cloud Map's DNS names eight workers at most. Make each larger (worker_size)."
  }
}

variable "worker_count_max" {
  description = "The most workers; above worker_count it turns on autoscaling by CPU. Null: no autoscaling."
  type        = number
  default     = null

  validation {
    condition     = var.worker_count_max == null || try(var.worker_count_max >= var.worker_count && var.worker_count_max <= 8, false)
    error_message = "worker_count_max: must be from worker_count to 8: an answer of Cloud Map's DNS names eight workers at most."
  }
}

variable "worker_cpu_percent_target" {
  description = "CPU use of workers that autoscaling aims for."
  type        = number
  default     = 60

  validation {
    condition     = var.worker_cpu_percent_target >= 10 && var.worker_cpu_percent_target <= 90
    error_message = "worker_cpu_percent_target: ${var.worker_cpu_percent_target} must be from 10 to 90."
  }
}

variable "workers_on_spot" {
  description = "Workers on spare capacity: cheaper, and AWS may take one back, which costs its epoch a retry."
  type        = bool
  default     = false
}

variable "container_insights" {
  description = "CloudWatch metrics of tasks, at CloudWatch's price; Tidegauge has its own at /metrics."
  type        = bool
  default     = false
}

variable "job_files" {
  description = "Job files in the image that run from the start; others are submitted over HTTP."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for path in var.job_files : can(regex("^/.+\\.ya?ml$", path))])
    error_message = "job_files: each must be an absolute path in the image that ends in .yaml, as /etc/tidegauge/jobs/flows.yaml."
  }
}

variable "environment" {
  description = "More variables for job files, besides TELEMETRY, STATE and OUT. No secrets: they would be readable in the task definition."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.environment) : !startswith(name, "TIDEGAUGE_") && !startswith(name, "AWS_")])
    error_message = "environment: names that begin with TIDEGAUGE_ or AWS_ are set by this module and by ECS."
  }
}
