# cmake -DOUT=FILE.cpp -DDIRECTORY=migrations -P embed_migrations.cmake: writes the .sql files into a C++ source.
file(GLOB sql_files ${DIRECTORY}/*.sql)
list(SORT sql_files)
set(entries "")
foreach(sql_file ${sql_files})
  get_filename_component(name ${sql_file} NAME)
  string(REGEX MATCH "^[0-9][0-9][0-9][0-9]_" numbered ${name})
  if(NOT numbered)
    message(FATAL_ERROR "migrations/${name} is not named NNNN_name.sql")
  endif()
  string(SUBSTRING ${name} 0 4 digits)
  string(REGEX REPLACE "^0+" "" number ${digits})
  file(READ ${sql_file} sql)
  string(APPEND entries "      {${number}, \"${name}\", R\"~sql~(${sql})~sql~\"},\n")
endforeach()
file(CONFIGURE OUTPUT ${OUT} @ONLY CONTENT [[// Written by the build from migrations/*.sql.
#include "storage/postgres/migrator.h"

namespace finetuned::postgres {

std::vector<Migration> embedded_migrations() {
  return {
@entries@  };
}

}  // namespace finetuned::postgres
]])
