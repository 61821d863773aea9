# One folder, one static library, one namespace.
#
#   finetuned_room(NAME storage_redis SOURCES client.cpp DEPENDS finetuned::base LIBRARIES PkgConfig::hiredis)
#
# DEPENDS (rooms) are PUBLIC, since their headers appear in ours; LIBRARIES (third party) stay PRIVATE,
# since house headers do not include heavy libraries; PUBLIC_LIBRARIES is for the few that must show (Asio in base).
function(finetuned_room)
  cmake_parse_arguments(ROOM "" "NAME" "SOURCES;DEPENDS;LIBRARIES;PUBLIC_LIBRARIES" ${ARGN})
  add_library(finetuned_${ROOM_NAME} STATIC ${ROOM_SOURCES})
  add_library(finetuned::${ROOM_NAME} ALIAS finetuned_${ROOM_NAME})
  target_link_libraries(finetuned_${ROOM_NAME}
    PUBLIC ${ROOM_DEPENDS} ${ROOM_PUBLIC_LIBRARIES} PRIVATE ${ROOM_LIBRARIES} finetuned_options)
  target_include_directories(finetuned_${ROOM_NAME} PUBLIC ${PROJECT_SOURCE_DIR})
endfunction()

# A GoogleTest program; every TEST becomes one ctest entry. Labels: unit (no network) or integration. LOCK NAME: never
# beside another test of that lock, since they share what it names (the one Redis, which some of them empty).
#   finetuned_test(NAME unit_base LABEL unit SOURCES ids_test.cpp DEPENDS finetuned::base)
function(finetuned_test)
  cmake_parse_arguments(T "" "NAME;LABEL;TIMEOUT;LOCK" "SOURCES;DEPENDS;LIBRARIES" ${ARGN})
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 120)
  endif()
  add_executable(${T_NAME} ${T_SOURCES})
  target_link_libraries(${T_NAME} PRIVATE ${T_DEPENDS} ${T_LIBRARIES} GTest::gmock GTest::gtest_main finetuned_options)
  target_compile_definitions(${T_NAME} PRIVATE FINETUNED_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  gtest_discover_tests(${T_NAME} DISCOVERY_MODE PRE_TEST
    TEST_PREFIX "${T_NAME}." PROPERTIES LABELS "${T_LABEL}" TIMEOUT ${T_TIMEOUT} RESOURCE_LOCK "${T_LOCK}")
endfunction()

add_library(finetuned_options INTERFACE)
target_compile_options(finetuned_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -fno-omit-frame-pointer>)
# Clang warns of what libstdc++ 12 does inside std::stable_sort.
target_compile_options(finetuned_options INTERFACE $<$<COMPILE_LANG_AND_ID:CXX,Clang>:-Wno-deprecated-declarations>)
if(FINETUNED_WERROR)
  target_compile_options(finetuned_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
endif()
if(FINETUNED_SANITIZE)
  add_compile_options(-fsanitize=${FINETUNED_SANITIZE} -g)
  add_link_options(-fsanitize=${FINETUNED_SANITIZE})
  if(FINETUNED_FUZZ)
    add_compile_options(-fno-sanitize-recover=all)  # a finding ends the process, so that its input is kept
  endif()
endif()
find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE_PROGRAM})
endif()
